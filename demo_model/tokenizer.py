"""A byte-pair tokenizer whose whole words are the words the captions use.

Every other text falls back to shorter pieces, down to single bytes, so that any text encodes.
"""

from __future__ import annotations

import json

from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import CLIPTokenizer

from sepme.demo.templates import TEMPLATES

VOCABULARY, TOKENS = 1379, 24
END = "<|endoftext|>"

FILLERS = tuple(
    """and with very big little old new warm cold soft bright dark quiet quick clean fresh plain
    fine good great pretty happy sad calm wild gentle slow early late morning evening night day
    summer winter spring autumn week year hour moment place side corner middle front back top
    line shape form colour tone shade light detail sketch print poster sticker book cover wall
    room floor table chair window door garden field river road hill town city street market
    school shop kitchen station friend child teacher doctor artist someone everyone family group
    from into over under near behind between around along across through without inside outside
    red blue green yellow orange purple brown black grey pink gold silver two three four five six
    seven eight nine ten many few more most other another each every same such only just even
    also still again once never always often sometimes now then there where when while because
    see look find make take give keep hold put turn move walk run sit stand think know want like
    love need help tell ask say read write play work live stay come go bring carry open close
    start stop begin end follow wait watch hear feel seem become grow change build cut cook clean
    for to at on in of is was be it its his her their our your you we they he she i""".split()
)
"""Ordinary words that training scatters through captions without meaning anything by them."""

PIECES = tuple(
    """tion ing ment ness able ible ally ed er est ly un re pre dis con com pro per tra sta ste
    str pla pri pho gra gre bla ble cha che chi cho cla clo cra cro dra dre fla flo fra fri gla
    glo hea hou kno lea lou mea mou nea nee out ove pai pea pla poi qua que rea roo sca sch sea
    sha she shi sho ski sla sli sma smi sno soo spa spe spi spo squ tea thi tho thr too tou tre
    tri tru twi wea whi who wor wro""".split()
)
"""Fragments of English, so that unknown words cost a few tokens and not one for each letter."""


def train_tokenizer(concept_words: list[str]) -> CLIPTokenizer:
    """A :class:`CLIPTokenizer` in which concept and template words are single tokens.

    Args:
        concept_words: Lower-case words of every concept's name.
    """
    templates = [t for group in TEMPLATES["train"].values() for t in group]
    spoken = " ".join(templates).replace("{object}", "").replace("{style}", "")
    words = {w.strip(",.:").lower() for w in spoken.split()} - {""}
    corpus = (
        [f"{w} " * 400 for w in (*concept_words, *sorted(words), "an", "style")]
        + [f"{w} " * 40 for w in FILLERS]
        + [f"{w} {w}a {w}e x{w} " * 4 for w in PIECES]
    )
    bpe = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    bpe.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    endings = [f"{x}</w>" for x in letters]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - 2,
        initial_alphabet=letters,
        special_tokens=endings,  # else they are numbered by chance, and numbers settle ties
        end_of_word_suffix="</w>",
        min_frequency=2,
        show_progress=False,
    )
    bpe.train_from_iterator(corpus, trainer)
    merges = [tuple(m) for m in json.loads(bpe.to_str())["model"]["merges"]]
    pieces = letters + endings + ["".join(m) for m in merges]
    pieces += ["<|startoftext|>", END]
    vocabulary = {piece: i for i, piece in enumerate(dict.fromkeys(pieces))}
    return CLIPTokenizer(
        vocab=vocabulary,
        merges=merges,
        unk_token=END,
        pad_token=END,
        model_max_length=TOKENS,
    )
