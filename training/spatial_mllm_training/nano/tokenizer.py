"""A tokenizer of few words, learnt from the questions that the model is to answer (byte-level BPE)."""

import json
import re
from collections.abc import Iterable, Sequence

from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from spatial_mllm_ros.mllm.families.spatial_mllm.tokenizer import CHAT_TEMPLATE, SPECIAL_TOKENS, chat_tokenizer

WORDS = r"[0-9]| ?[^\s0-9]+|\s+"
"""What no token reaches across: single digits, so that numbers are written place by place; words; space."""
LONGEST = 24  # characters of a word that becomes a token
SYSTEM = "You answer questions about the space that is seen in images."


def train_tokenizer(texts: Iterable[str], size: int, sentences: Sequence[str] = ()) -> PreTrainedTokenizerFast:
    """A tokenizer of at most ``size`` tokens, ``SPECIAL_TOKENS`` among them; every text has tokens and comes back.

    Each of ``sentences`` is one token: a small model should spend its time on what differs from question to question.
    Its chat template is that of untrained checkpoints with a shorter system turn: each token of it is read every time.
    The same texts give the same tokens.
    """
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    whole = sorted(sentences, key=len, reverse=True)  # the longest that fits
    split = pre_tokenizers.Split(Regex("|".join([*map(re.escape, whole), WORDS])), behavior="isolated")
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Sequence([split, level])
    trainer = trainers.BpeTrainer(
        vocab_size=size - len(SPECIAL_TOKENS) - len(sentences),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        max_token_length=LONGEST,
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    learnt = json.loads(backend.to_str())["model"]
    entries = [*learnt["vocab"], *(level.pre_tokenize_str(sentence)[0][0] for sentence in sentences)]
    vocab = {token: number for number, token in enumerate(entries)}
    backend.model = models.BPE(vocab, [tuple(pair) for pair in learnt["merges"]], ignore_merges=True)
    tokenizer = chat_tokenizer(backend)
    assert SYSTEM in CHAT_TEMPLATE
    tokenizer.chat_template = CHAT_TEMPLATE.replace(SYSTEM, "Spatial answers.")
    return tokenizer
