"""Text to tokens and back: the tokenizer of checkpoints that are made here.

Byte-level BPE (Sennrich et al. 2016, section 3.2, over bytes): every text has tokens and comes back from them exactly.
"""

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
"""The control tokens of Qwen2.5-VL that a Spatial-MLLM uses."""

WORDS = "the an is of to in on and left right front behind near far how many which what where meter question answer"
"""Words that become one token each (with the space before them), and so do their beginnings."""

CHAT_TEMPLATE = (
    "{% if messages[0].role != 'system' %}"
    "<|im_start|>system\nYou answer questions about the space that is seen in images.<|im_end|>\n"
    "{% endif %}"
    "{% for message in messages %}"
    "<|im_start|>{{ message.role }}\n"
    "{% if message.content is string %}{{ message.content }}"
    "{% else %}"
    "{% for part in message.content %}"
    "{% if part.type == 'text' %}{{ part.text }}"
    "{% elif part.type in ('image', 'video') %}<|vision_start|><|{{ part.type }}_pad|><|vision_end|>"
    "{% endif %}"
    "{% endfor %}"
    "{% endif %}"
    "<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""ChatML with images and videos: used where a checkpoint brings no template."""


def build_tokenizer() -> PreTrainedTokenizerFast:
    """A small byte-level tokenizer with Qwen2.5-VL's control tokens and a chat template; needs no files.

    Ids: 0..255 the bytes, then the merges, then ``SPECIAL_TOKENS``; fewer than 400 in all. ``save_pretrained`` writes
    what ``AutoTokenizer`` loads without a hub.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    space = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str(" ")[0][0]
    merges: list[tuple[str, str]] = []
    for word in WORDS.split():
        begin = space
        for letter in word:
            if (begin, letter) not in merges:
                merges.append((begin, letter))
            begin += letter
    vocab = {token: i for i, token in enumerate([*alphabet, *(a + b for a, b in merges)])}
    backend = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return chat_tokenizer(backend)


def chat_tokenizer(backend: Tokenizer) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer with ``SPECIAL_TOKENS`` after its own tokens, and ``CHAT_TEMPLATE``."""
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(token, normalized=False) for token in SPECIAL_TOKENS])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=[t for t in SPECIAL_TOKENS if t not in ("<|im_end|>", "<|endoftext|>")],
        clean_up_tokenization_spaces=False,
        padding_side="left",
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer
