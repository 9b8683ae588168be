"""The bundled tasks: fixed rows, sound labels, no duplicates and no cue that gives the answer away."""

import hashlib
import re
from collections.abc import Iterable

import pandas as pd
import pytest

from fewft import bundled
from fewft.config import UsageError

PAIRS = [name for name in bundled.NAMES if name != "bundled:acceptability"]


def all_rows(name: str) -> pd.DataFrame:
    return pd.concat(bundled.load(name).values(), ignore_index=True)


def texts(name: str) -> pd.DataFrame:
    return all_rows(name).drop(columns="label")


@pytest.mark.parametrize("name", bundled.NAMES)
def test_sizes_columns_and_sentence_lengths(name: str) -> None:
    frames = bundled.load(name)
    assert {split: len(frame) for split, frame in frames.items()} == {"train": 320, "validation": 120, "test": 120}
    columns = ["text_a", "text_b", "label"] if name in PAIRS else ["text_a", "label"]
    assert all(list(frame) == columns for frame in frames.values())
    for text in texts(name).stack():
        assert text == text.lower() and 5 <= len(text.split()) <= 14 and text.replace(" ", "").isalpha()


@pytest.mark.parametrize("name", bundled.NAMES)
def test_no_example_twice_within_or_across_splits(name: str) -> None:
    assert not texts(name).duplicated().any()


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("bundled:acceptability", "53998746afc75840"),
        ("bundled:paraphrase", "aee1d84ef4a1b3b2"),
        ("bundled:entailment", "4d926815f64c8fcb"),
        ("bundled:similarity", "bd278d79d0d4c8d9"),
    ],
)
def test_rows_are_the_same_everywhere(name: str, digest: str) -> None:
    lines = "\n".join("\t".join(map(str, row)) for row in all_rows(name).itertuples(index=False))
    assert hashlib.sha256(lines.encode()).hexdigest()[:16] == digest


def test_label_shares_stand_in_for_the_glue_tasks() -> None:
    for split in ("train", "validation", "test"):
        share = {name: bundled.load(name)[split].label.mean() for name in bundled.NAMES}
        assert share["bundled:acceptability"] == share["bundled:entailment"] == 0.5
        assert share["bundled:paraphrase"] == pytest.approx(0.684, abs=0.002)
    levels = bundled.load("bundled:similarity")["test"].label
    assert sorted(levels.unique()) == [half / 2 for half in range(11)]


@pytest.mark.parametrize("name", ["bundled:acceptability", "bundled:paraphrase", "bundled:entailment"])
def test_no_single_word_or_length_solves_a_task(name: str) -> None:
    rows = all_rows(name)
    majority = max(rows.label.mean(), 1 - rows.label.mean())
    for column in texts(name):
        words = rows[column].str.split()
        cues = [words.map(lambda sentence, word=word: word in sentence) for word in set(words.sum())]
        cues += [words.str.len() > length for length in range(5, 14)]
        best = max(max(share, 1 - share) for share in ((cue == rows.label).mean() for cue in cues))
        assert best < majority + 0.15


def test_length_alone_does_not_rank_similarity() -> None:
    rows = all_rows("bundled:similarity")
    assert abs(rows.text_b.str.split().str.len().corr(rows.label, method="spearman")) < 0.6


def one_of(lexemes: Iterable[str], form: int = 0, end: str = "") -> str:
    return "(" + "|".join(lexeme.split("/")[form] + end for lexeme in lexemes) + ")"


def test_acceptable_means_that_the_grammar_matches() -> None:
    nouns, verbs = (*bundled.PEOPLE, *bundled.THINGS), (*bundled.THING_VERBS, *bundled.PERSON_VERBS)
    adjective = one_of(f"{word} " for word in (*bundled.PERSON_ADJECTIVES, *bundled.THING_ADJECTIVES)) + "?"
    one, many = f"(the|this|a) {adjective}{one_of(nouns)}", f"(the|these|some) {adjective}{one_of(nouns, end='s')}"
    near, acts, doing = f"( near ({one}|{many}))?", one_of(verbs), one_of(verbs, end="ing")
    subject = f"({one}{near} (is {doing}|has to {acts})|{many}{near} (are {doing}|have to {acts}))"
    grammar = re.compile(f"{subject} {one}( {one_of((*bundled.PLACES, *bundled.TIMES))})?")
    rows = all_rows("bundled:acceptability")
    assert [bool(grammar.fullmatch(text)) for text in rows.text_a] == list(rows.label == 1)


def lexemes_in(text: str) -> list[str]:
    """Every lexeme of the sentence in order of appearance; passive sentences are turned round."""
    kinds = (bundled.PEOPLE, bundled.THINGS, bundled.THING_VERBS, bundled.PERSON_VERBS, bundled.PLACES, bundled.TIMES)
    lexemes = [lexeme for kind in (*kinds, bundled.MODES[1:]) for lexeme in kind]
    spots = {lexeme: re.search(rf"\b({'|'.join(lexeme.split('/')[-2:])})\b", text) for lexeme in lexemes}
    found = sorted((match.start(), lexeme) for lexeme, match in spots.items() if match)
    return [lexeme for _, lexeme in (reversed(found) if " was " in text else found)]


def meaning(text: str) -> tuple[list[str], set[str]]:
    lexemes = lexemes_in(text)
    return [lexeme for lexeme in lexemes if lexeme in (*bundled.PEOPLE, *bundled.THINGS)], set(lexemes)


def test_paraphrase_means_same_roles_and_same_reality() -> None:
    rows = all_rows("bundled:paraphrase")
    same = [meaning(first) == meaning(second) for first, second in zip(rows.text_a, rows.text_b, strict=True)]
    assert same == list(rows.label == 1)


def follows(premise: str, hypothesis: str) -> bool:
    """Whether the hypothesis only weakens: same polarity, no larger number, nothing new but hypernyms."""
    known = set(premise.split()) | {"people"}
    known |= {kind for kind, things in bundled.KINDS.items() if known & set(things)}
    number = hypothesis.removeprefix("at least ").split()[0]
    enough = bundled.NUMBERS.index(number) <= bundled.NUMBERS.index(premise.split()[0])
    new = set(hypothesis.removeprefix("at least ").split()[1:]) - known
    return enough and not new and ("not" in known) == (" not " in hypothesis)


def test_entailment_means_that_the_hypothesis_only_weakens() -> None:
    rows = all_rows("bundled:entailment")
    entailed = [follows(first, second) for first, second in zip(rows.text_a, rows.text_b, strict=True)]
    assert entailed == list(rows.label == 0)


def test_similarity_five_keeps_every_role_and_the_mean_kept_share_rises_with_the_label() -> None:
    rows = all_rows("bundled:similarity")
    pairs = zip(rows.text_a, rows.text_b, strict=True)
    rows["kept"] = [len(set(lexemes_in(first)) & set(lexemes_in(second))) for first, second in pairs]
    assert (rows.kept[rows.label == 5] == 5).all()
    assert rows.kept.corr(rows.label, method="spearman") > 0.9


def test_unknown_name_is_refused_with_the_accepted_ones() -> None:
    with pytest.raises(UsageError, match="bundled:paraphase.*bundled:acceptability.*bundled:similarity"):
        bundled.load("bundled:paraphase")
