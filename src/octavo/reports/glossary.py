"""The terms of the report, each explained where it first stands in a section, and in a glossary at its end."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from markupsafe import Markup


@dataclass(frozen=True)
class Term:
    """A term.

    Args:
        name: As the glossary lists it.
        meaning: One or two sentences.
        words: A regular expression of the forms in which it stands in a text.
    """

    name: str
    meaning: str
    words: str

    @property
    def anchor(self) -> str:
        """The id of its entry.

        Example:
            >>> Term("Non-inferior", "", "").anchor
            'term-non-inferior'
        """
        return "term-" + re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-")


TERMS: tuple[Term, ...] = (
    Term(
        "Agreement",
        "How alike the answers of float and int8 are on the same samples, whether they are right or not.",
        "agreement",
    ),
    Term(
        "Arena",
        "The block of memory in which TFLite Micro places all activations; those that are not needed at the same time "
        "share it.",
        "arena",
    ),
    Term("AUC", "The probability that an anomaly scores higher than a normal sample; 50% is guessing.", "AUC"),
    Term(
        "Calibration",
        "Running sample images through the float model to find the range of every activation. No label is used.",
        "calibration|calibrated",
    ),
    Term("Code", "The integer that stands for a real number: an int8 code lies between −128 and 127.", "codes?"),
    Term(
        "Control",
        "The float model, trained on for the same epochs on the same images as int8. It shows what longer training "
        "alone does.",
        "control",
    ),
    Term(
        "Cross-layer equalization",
        "Scaling the channels of one layer down and the weights of the next up, so that all channels use their range; "
        "the function of the network stays the same.",
        "cross-layer equalization",
    ),
    Term("F1", "The harmonic mean of precision and recall.", "F1"),
    Term(
        "Full-integer",
        "A model whose inputs, outputs, weights and ops are integers, as microcontrollers and many accelerators need.",
        "full[- ]integer",
    ),
    Term("IoU", "Of the pixels that the model or the truth gives to a class, the share that both give to it.", "IoU"),
    Term(
        "Kernels",
        "The code that computes ops. LiteRT has three families for int8 (XNNPACK, built-in and reference), which round "
        "differently in places.",
        "(?:built-in |reference )?kernels",
    ),
    Term("Latency", "The time of one sample, alone on one thread.", "latency|latencies"),
    Term(
        "Macro",
        "The mean of a figure over the classes, in which each class counts the same, however many samples it has.",
        "macro",
    ),
    Term("Margin", "The largest loss that counts as acceptable, chosen before measuring (evaluate.margin).", "margin"),
    Term(
        "McNemar's test",
        "A test of whether two models differ, from the samples on which only one of them is right. A small p means "
        "that chance alone seldom gives such a difference.",
        "McNemar's",
    ),
    Term(
        "Multiply-accumulates",
        "Multiplications with an addition, the main work of a network.",
        "multiply-accumulates",
    ),
    Term(
        "Non-inferior",
        "Int8 is non-inferior if the whole interval of its difference from float lies within the margin.",
        "non-inferior|non-inferiority",
    ),
    Term(
        "Observer",
        "The rule that makes a range from the values seen in calibration: from minimum to maximum, or with outliers "
        "clipped.",
        "observer",
    ),
    Term("Outlier", "A value far from most others. It widens the range, so the others share fewer codes.", "outliers?"),
    Term(
        "Paired interval",
        "The range in which the difference of two models probably lies. Both saw the same samples, so it is narrower "
        "than a comparison of two separate scores.",
        r"paired (?:\d+% )?(?:intervals?|difference)",
    ),
    Term(
        "Pareto front",
        "The models for which no other is both cheaper and as good.",
        "Pareto fronts?",
    ),
    Term(
        "Per channel, per tensor",
        "One scale for each output channel of a weight, or one scale for the whole tensor.",
        "per[- ](?:channel|tensor)",
    ),
    Term("Percentile", "90% of the runs take at most the time of the 90th percentile.", "90th percentile"),
    Term(
        "Post-training quantization",
        "Quantizing a trained model without training it further (PTQ).",
        "post-training(?: quantization)?",
    ),
    Term(
        "Quantization-aware training",
        "Training while weights and activations are rounded as in int8, so that the model learns to work with that "
        "(QAT).",
        "quantization-aware training|QAT",
    ),
    Term(
        "QUANTIZE op",
        "An op that brings codes of one scale and zero point to another scale and zero point.",
        "QUANTIZE ops?",
    ),
    Term(
        "Recall, precision",
        "Recall: the share of a class's samples that the model finds. Precision: the share of its answers for the "
        "class that are right.",
        "recall|precision float",
    ),
    Term(
        "Scale, zero point",
        "How codes become real numbers: real = scale × (code − zero point).",
        "scales?|zero points?",
    ),
    Term(
        "SQNR",
        "Signal-to-quantization-noise ratio, in decibels: how large float's values are, compared with the difference "
        "that int8 makes. Higher is better; 6 dB are about one bit.",
        "SQNR",
    ),
    Term(
        "Throughput",
        "Samples per second with all cores at work, one sample on each.",
        "throughput|inferences per second",
    ),
    Term(
        "Tuning pass",
        "A change to the constants of the float model that lowers the loss to int8, without labels or training.",
        "tuning pass(?:es)?",
    ),
    Term("XNNPACK", "The library of fast CPU kernels that LiteRT uses by default.", "XNNPACK"),
)
# A term is a word, not a part of a name.
_ANY = re.compile(
    r"(?<![\w.'/-])(?:" + "|".join(f"(?P<t{k}>{term.words})" for k, term in enumerate(TERMS)) + r")(?![\w'/-])",
    re.IGNORECASE,
)
IN_BACKTICKS = re.compile(r"`([^`\n]+)`")


def terms_in(text: str) -> list[Term]:
    """The terms of a text, in the order of the glossary.

    Example:
        >>> [term.name for term in terms_in("The margin is 2 points; SQNR 31 dB.")]
        ['Margin', 'SQNR']
    """
    met = {match.lastgroup for match in _ANY.finditer(text)}
    return [term for k, term in enumerate(TERMS) if f"t{k}" in met]


class Explained:
    """Makes HTML of the texts of one page: terms are linked to the glossary, and what stands in backticks is code.

    Example:
        >>> page = Explained()
        >>> print(page.text("SQNR of <b>, see `octavo compare`").partition("</a>")[2])
         of &lt;b&gt;, see <code>octavo compare</code>
        >>> print(page.text("SQNR again"), [term.name for term in page.used])
        SQNR again ['SQNR']
    """

    def __init__(self) -> None:
        self._met: set[str] = set()
        self._all: set[str] = set()

    def section(self) -> str:
        """Starts a section, in which every term is linked once; makes no text."""
        self._met.clear()
        return ""

    @property
    def used(self) -> list[Term]:
        """The terms linked so far, in the order of the glossary."""
        return [term for term in TERMS if term.anchor in self._all]

    def text(self, text: str) -> Markup:
        """A text in which terms are linked and explained on hover."""
        return self._each(text, self._linked)

    def code(self, text: str) -> Markup:
        """A text without links."""
        from markupsafe import escape

        return self._each(text, escape)

    def _each(self, text: str, plain: Callable[[str], Markup]) -> Markup:
        from markupsafe import Markup

        parts = enumerate(IN_BACKTICKS.split(text))
        return Markup().join(
            Markup("<code>{}</code>").format(part) if place % 2 else plain(part) for place, part in parts
        )

    def _linked(self, text: str) -> Markup:
        from markupsafe import Markup, escape

        made, end = Markup(), 0
        for match in _ANY.finditer(text):
            term = TERMS[int(str(match.lastgroup)[1:])]
            if term.anchor in self._met:
                continue
            self._met.add(term.anchor)
            self._all.add(term.anchor)
            made += escape(text[end : match.start()]) + Markup('<a class="term" href="#{}" title="{}">{}</a>').format(
                term.anchor, term.meaning, match[0]
            )
            end = match.end()
        return made + escape(text[end:])
