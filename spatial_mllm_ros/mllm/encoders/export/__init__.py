"""Encoders as ONNX files that ONNX Runtime and TensorRT run; ``write.write`` makes and checks them."""
