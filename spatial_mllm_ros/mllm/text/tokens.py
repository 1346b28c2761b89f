"""The one way to encode what a person wrote."""

from transformers import PreTrainedTokenizerFast


def encode_text(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    """Tokens of what a person wrote: no control token is ever among them, whatever the text spells.

    The tokenizer's own normaliser, splitter and BPE run without its added tokens. Characters that no Unicode text can
    hold (lone surrogates, as undecodable bytes of a command line arrive) become question marks.
    """
    backend = tokenizer.backend_tokenizer
    text = text.encode("utf-8", "replace").decode("utf-8")
    if backend.normalizer is not None:
        text = backend.normalizer.normalize_str(text)
    pieces = [text] if backend.pre_tokenizer is None else [p for p, _ in backend.pre_tokenizer.pre_tokenize_str(text)]
    return [token.id for piece in pieces for token in backend.model.tokenize(piece)]
