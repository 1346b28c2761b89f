"""Chat templates are rendered as transformers does, and never for long."""

import json
from pathlib import Path

import pytest

pytest.importorskip("torch")

from transformers.utils.chat_template_utils import render_jinja_template

from spatial_mllm_ros.mllm.families.spatial_mllm.tokenizer import CHAT_TEMPLATE
from spatial_mllm_ros.mllm.text.templates import render

QWEN = (
    "{% set images = namespace(value=0) %}{% for message in messages %}"
    "{% if loop.first and message['role'] != 'system' %}<|im_start|>system\nYou are helpful.<|im_end|>\n{% endif %}"
    "<|im_start|>{{ message['role'] }}\n{% if message['content'] is string %}{{ message['content'] }}<|im_end|>\n"
    "{% else %}{% for content in message['content'] %}{% if content['type'] == 'image' or 'x' in content %}"
    "{% set images.value = images.value + 1 %}{% if add_id %}Picture {{ images.value }}: {% endif %}<|image_pad|>"
    "{% elif content['type'] == 'video' %}<|vision_start|><|video_pad|><|vision_end|>"
    "{% elif 'text' in content %}{{ content['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
NANO = json.loads((Path(__file__).parents[3] / "models" / "nano" / "chat_template.json").read_text())["chat_template"]
OTHER = (
    "{%- for m in messages -%}\n  {{ '<' ~ m.role|upper ~ '>' + ['a', 'b']|join('-') ~ loop.index0 * 2 }}\n"
    "  {% generation %}{{ m['content'] if m.content is string else m.content|length }}{% endgeneration %}\n"
    "  {% if loop.last %}{% break %}{% endif %}{% set x %} {{ 'y '.strip() }}{% endset %}{{ x }}\n{%- endfor %}"
)
PICTURE, CLIP = {"type": "image"}, {"type": "video"}
MESSAGES = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": [PICTURE, CLIP, PICTURE, {"type": "text", "text": "Where {{ 1 }}?"}]},
    {"role": "assistant", "content": "Here."},
]
GROWING = "{% set n.x = n.x OP n.x %}" * 40
START = "{% set n = namespace(x=VALUE) %}"
NESTED = "{% set x = [1] %}" + "{% set x = [x, x] %}" * 40


def growing(operator, value="'aaaa'"):
    return START.replace("VALUE", value) + GROWING.replace("OP", operator)


def loops(depth, over):
    return f"{{% for a in {over} %}}" * depth + "x" + "{% endfor %}" * depth


BOMBS = {
    "loops over ranges": (loops(3, "range(1000)"), "more than 5000 steps"),
    "a range": ("{{ range(10**9 - 1)|list }}", r"uses \*\*"),
    "a long range": ("{{ range(99999)|length }}", "more than 5000 steps"),
    "loops over a list": (loops(5, [*range(12)]), "more than 5000 steps"),
    "a long list, twice": (loops(2, [1] * 5000), "more than 5000 steps"),
    "deep loops": (loops(15, "messages"), "loops within loops"),
    "a loop that calls itself": (
        "{% for x in messages recursive %}{{ loop(messages) }}{% endfor %}",
        "which no prompt",
    ),
    "a macro": ("{% macro m(n) %}{{ m(n - 1) }}{{ m(n - 1) }}{% endmacro %}{{ m(99) }}", "which no prompt needs"),
    "joining": (growing("~"), "more than 50000 characters"),
    "adding": (growing("+"), "more than 50000 characters"),
    "adding lists": (growing("+", "[1]"), "more than 5000 steps"),
    "squares": (growing("*", "9"), "number beyond"),
    "repeating": ("{{ 'a' * 9999999999 }}", r"uses \* on other than numbers"),
    "powers": ("{{ 9 ** 9 ** 9 }}", r"uses \*\*"),
    "formatting": ("{{ '%9999999999d' % 1 }}", "uses % on other than numbers"),
    "str.format": ("{{ '{:>9999999999}'.format(1) }}", "'format' of 'str' object is unsafe"),
    "str.ljust": ("{{ 'a'.ljust(9999999999) }}", "'ljust' of 'str' object is unsafe"),
    "center": ("{{ 'a'|center(9999999999) }}", "No filter named 'center'"),
    "blocks": (
        "{% set x %}aaaa{% endset %}" + "{% set x %}{{ x }}{{ x }}{% endset %}" * 40,
        "more than 50000 characters",
    ),
    "lists of lists": (NESTED + "{{ x }}", "uses a list as text"),
    "lists of lists, compared": (NESTED + NESTED.replace("x", "y") + "{{ x == y }}", "uses a list as text"),
    "keys of tuples": ("{% set x = (1,) %}" + "{% set x = (x, x) %}" * 40 + "{{ {x: 1} }}", "uses a tuple as text"),
    "its own text": ("{% for i in range(2000) %}" + "y" * 40_000 + "{% endfor %}", "2000000 in all"),
    "a joined list": ("{% set x = '" + "y" * 40_000 + "' %}{{ [" + "x," * 2000 + "]|join }}", "2000000 in all"),
    "parentheses": ("{{ " + "(" * 20_000 + "1" + ")" * 20_000 + " }}", "cannot be rendered"),
    "conditions": ("{% if 1 %}" * 2000 + "{% endif %}" * 2000, "cannot be rendered"),
    "length": ("x" * 50_001, "50001 characters: expected at most 50000"),
    "another file": ("{% include 'x' %}", "which no prompt needs"),
    "Python": ("{{ ''.__class__.__mro__ }}", "unsafe"),
    "grammar": ("{{ 1 + }}", "cannot be rendered: unexpected"),
    "types": ("{{ 1 + 'a' }}", "cannot be rendered: unsupported operand"),
    "nothing": ("{{ nothing.here }}", "cannot be rendered: 'nothing' is undefined"),
    "infinity": ("{{ messages[1e999] }}", "cannot be rendered: name 'inf' is not defined"),
    "zero": ("{{ 1 // 0 }}", "cannot be rendered: "),
    "itself": ("{{ raise_exception('only text, please') }}", "cannot be rendered: only text, please"),
}


@pytest.mark.parametrize("template", [CHAT_TEMPLATE, QWEN, NANO, OTHER], ids=["ours", "qwen", "nano", "other"])
@pytest.mark.parametrize("prompt", [False, True])
def test_as_transformers_does(template, prompt):
    for messages in (MESSAGES, MESSAGES[1:], MESSAGES[1:2]):
        expected = render_jinja_template([messages], chat_template=template, add_generation_prompt=prompt)[0][0]
        assert render(template, messages, add_generation_prompt=prompt) == expected


@pytest.mark.timeout(10)
@pytest.mark.parametrize("name", BOMBS)
def test_what_takes_too_much_is_refused(name):
    template, words = BOMBS[name]
    with pytest.raises(ValueError, match=words):
        render(template, MESSAGES)


def test_as_many_frames_as_there_may_be():
    clip = [{"role": "user", "content": [PICTURE] * 256 + [{"type": "text", "text": "x" * 2000}]}]
    assert render(QWEN, clip * 4).count("<|image_pad|>") == 1024
