"""A tokenizer of few words, learnt from the questions that the model is to answer (byte-level BPE)."""

from collections.abc import Iterable

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from spatial_mllm_ros.mllm.text.tokenizer import CHAT_TEMPLATE, SPECIAL_TOKENS

WORDS = r"[0-9]| ?[^\s0-9]+|\s+"
"""What no token reaches across: single digits, so that numbers are written place by place; words; space."""
SYSTEM = "You answer questions about the space that is seen in images."


def train_tokenizer(texts: Iterable[str], size: int) -> PreTrainedTokenizerFast:
    """A tokenizer of at most ``size`` tokens, ``SPECIAL_TOKENS`` among them; every text has tokens and comes back.

    Its chat template is that of untrained checkpoints with a shorter system turn: each token of it is read every time.
    The same texts give the same tokens.
    """
    backend = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(WORDS), behavior="isolated")
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size - len(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    backend.add_special_tokens([AddedToken(token, normalized=False) for token in SPECIAL_TOKENS])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=[t for t in SPECIAL_TOKENS if t not in ("<|im_end|>", "<|endoftext|>")],
        clean_up_tokenization_spaces=False,
        padding_side="left",
    )
    assert SYSTEM in CHAT_TEMPLATE
    tokenizer.chat_template = CHAT_TEMPLATE.replace(SYSTEM, "Spatial answers.")
    return tokenizer
