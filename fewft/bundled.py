"""Four small tasks generated from grammars, for machines with neither a hub nor data: labels follow by rule."""

import random
from collections.abc import Callable, Sequence

import pandas as pd

from fewft.config import check_choice

SIZES = {"train": 320, "validation": 120, "test": 120}
WORDS = range(5, 15)  # words in a sentence

# Lexemes are "word/synonym"; verbs are "base/past/past of a synonym", past and participle alike.
# fmt: off
PEOPLE = ("teacher/instructor", "doctor/physician", "lawyer/attorney", "writer/author", "student/pupil", "chef/cook",
          "singer/vocalist", "robber/thief", "manager/boss", "merchant/trader")
THINGS = ("car/automobile", "picture/photo", "rug/carpet", "sofa/couch", "gift/present", "lamp/light", "ship/boat",
          "cup/mug", "coat/jacket", "bag/sack", "novel/book", "parcel/package")
KINDS = {"vehicle": ("car", "truck", "bus"), "tool": ("hammer", "saw", "drill"), "furniture": ("chair", "bed", "desk")}
THING_VERBS = ("buy/bought/purchased", "find/found/discovered", "fix/fixed/repaired", "clean/cleaned/washed",
               "inspect/inspected/examined", "destroy/destroyed/ruined", "lift/lifted/raised")
PERSON_VERBS = ("call/called/phoned", "help/helped/assisted", "follow/followed/pursued", "push/pushed/shoved",
                "watch/watched/observed", "attack/attacked/assaulted", "greet/greeted/welcomed")
PLACES = ("in the woods/in the forest", "near the shop/near the store", "on the road/on the street",
          "at the harbor/at the port", "in the garden/in the yard", "behind the house/behind the home")
# fmt: on
TIMES = ("at noon/at midday", "at dawn/at sunrise", "at dusk/at sunset", "in autumn/in fall")
MODES = ("", "almost/nearly", "never ever/never once")
PERSON_ADJECTIVES, THING_ADJECTIVES = ("young", "tall", "clever", "famous"), ("small", "red", "heavy", "broken")
NUMBERS = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def _pick(rng: random.Random, options: Sequence[str], taken: str = "") -> str:
    free = [option for option in options if option != taken or not taken]
    return free[int(rng.random() * len(free))]


def _shuffled(rng: random.Random, options: Sequence[str]) -> list[str]:
    return sorted(options, key=lambda _: rng.random())


def _noun_phrase(rng: random.Random, nouns: Sequence[str], plural: bool) -> list[str]:
    """Determiner, sometimes an adjective, noun; all singular nouns here need their determiner."""
    determiner = _pick(rng, ["the", "these", "some"] if plural else ["the", "this", "a"])
    adjective = [_pick(rng, PERSON_ADJECTIVES if nouns is PEOPLE else THING_ADJECTIVES)] if rng.random() < 0.3 else []
    return [determiner, *adjective, _pick(rng, nouns).split("/")[0] + "s" * plural]


def _acceptability(rng: random.Random, target: float) -> tuple[str]:
    """A present-tense sentence that is grammatical (1) or broken in one place (0)."""
    fault = "" if target else _pick(rng, ["doubled"] * 6 + ["missing"] * 2 + ["agreement", "order", "verb last"])
    plural, person = rng.random() < 0.5, rng.random() < 0.5
    subject, patient = _noun_phrase(rng, PEOPLE, plural), _noun_phrase(rng, PEOPLE if person else THINGS, False)
    near = ["near", *_noun_phrase(rng, PEOPLE, rng.random() < 0.5)] if rng.random() < 0.3 else []
    base = _pick(rng, PERSON_VERBS if person else THING_VERBS).split("/")[0]
    are, have = ("are", "have") if plural != (fault == "agreement") else ("is", "has")
    verb = _pick(rng, [f"{are} {base}ing", f"{have} to {base}"]).split()
    tail = _pick(rng, [*PLACES, *TIMES]).split("/")[0].split() if rng.random() < 0.6 else []
    hit = patient if plural or rng.random() < 0.5 else subject
    wrong = {"order": [*hit[1:], hit[0]], "missing": hit[1:], "doubled": [_pick(rng, ["the", "this", "a"]), *hit]}
    hit[:] = wrong.get(fault, hit)
    rest = patient + verb if fault == "verb last" else verb + patient
    return (" ".join(subject + near + rest + tail),)


def _frame(rng: random.Random) -> dict[str, str]:
    """Lexemes of one event: who did what to whom or what, where and when."""
    agent, person = _pick(rng, PEOPLE), rng.random() < 0.5
    patient, verbs = (_pick(rng, PEOPLE, agent), PERSON_VERBS) if person else (_pick(rng, THINGS), THING_VERBS)
    place, time = _pick(rng, PLACES), _pick(rng, TIMES)
    return {"agent": agent, "verb": _pick(rng, verbs), "patient": patient, "place": place, "time": time}


def _replaced(rng: random.Random, frame: dict[str, str], role: str) -> dict[str, str]:
    """The frame with another lexeme of the same kind in one role, never one that the frame already has."""
    kinds = (PEOPLE, THINGS, THING_VERBS, PERSON_VERBS, PLACES, TIMES, MODES)
    options = [lexeme for kind in kinds if frame[role] in kind for lexeme in kind if lexeme not in frame.values()]
    return {**frame, role: _pick(rng, options)}


def _say(rng: random.Random, frame: dict[str, str], synonyms: float, passive: float) -> str:
    """One wording of a frame; `synonyms` and `passive` are probabilities; absent roles are left out."""
    words = {role: word.split("/")[-2:][-(rng.random() < synonyms)] for role, word in frame.items()}
    agent, act, patient = words["agent"], f"{words.get('mode', '')} {words['verb']}", words["patient"]
    event = f"the {patient} was {act} by the {agent}" if rng.random() < passive else f"the {agent} {act} the {patient}"
    place, time = words.get("place", ""), words.get("time", "")
    text = f"{time} {event} {place}" if rng.random() < 0.3 else f"{event} {place} {time}"
    return " ".join(text.replace("the some", "some").split())


def _paraphrase(rng: random.Random, target: float) -> tuple[str, str]:
    """Two wordings of one event (1), or of events that differ in a role, in who did it to whom or in reality (0)."""
    frame = _frame(rng) | {"mode": _pick(rng, MODES[:1] * 12 + MODES)}
    for role in _shuffled(rng, ["place", "time"])[: 1 + (rng.random() < 0.6)]:
        del frame[role]
    told, change = dict(frame), "" if target else _pick(rng, [*["mode"] * 14, *frame, "swap"])
    if change == "swap" and frame["patient"] in PEOPLE:
        told |= {"agent": frame["patient"], "patient": frame["agent"]}
    elif change:
        told = _replaced(rng, frame, change.replace("swap", "patient"))
    return _say(rng, frame, 0.0, 0.2), _say(rng, told, 0.4, 0.4)


def _similarity(rng: random.Random, target: float) -> tuple[str, str]:
    """Two events sharing `target` roles of five: kept counts 1, vague a half, changed or left out 0."""
    told = frame = _frame(rng)
    vague = 2 * target % 2 + 2 * (1 <= target <= 4 and rng.random() < 0.5)
    words = {"agent": "someone", "place": "somewhere", "patient": ("something", "someone")[frame["patient"] in PEOPLE]}
    hazy = {role: words[role] for role in _shuffled(rng, list(words))[: int(vague)]}
    for role in _shuffled(rng, [role for role in frame if role not in hazy])[int(target - vague / 2) :]:
        told = _replaced(rng, told, role)
        if role in ("place", "time") and rng.random() < 0.7:
            told.pop(role)
    return _say(rng, frame, 0.0, 0.2), _say(rng, told | hazy, 0.3, 0.2)


def _entailment(rng: random.Random, target: float) -> tuple[str, str]:
    """A premise and what follows from it (0) or does not (1): weakened in up to two roles, then broken in one."""
    kind, count, negated = _pick(rng, list(KINDS)), int(rng.random() * 6), rng.random() < 0.15
    agent, rival = _shuffled(rng, [f"{lexeme.split('/')[0]}s" for lexeme in PEOPLE])[:2]
    thing, tail = _pick(rng, KINDS[kind]), _pick(rng, [*PLACES, *TIMES]).split("/")[0]
    base, past = _pick(rng, THING_VERBS).split("/")[:2]
    verb, denial = (f"did not {base}", past) if negated else (past, f"did not {base}")
    mood, trait = _pick(rng, ["", *PERSON_ADJECTIVES]), _pick(rng, ["", *THING_ADJECTIVES])
    premise = {"number": NUMBERS[count], "mood": mood, "agent": agent, "verb": verb, "the": "the"}
    premise |= {"trait": trait, "thing": thing, "tail": tail}
    fewer, more = (f"at least {_pick(rng, part)}" for part in (NUMBERS[: count + 1], NUMBERS[count + 1 :]))
    weaker = {"number": fewer, "mood": "", "agent": "people", "trait": "", "thing": kind, "tail": negated * tail}
    broken = {"number": more, "verb": denial, "agent": rival}
    broken |= {"trait": _pick(rng, THING_ADJECTIVES, trait), "thing": _pick(rng, KINDS[kind], thing)}
    told = premise | {role: weaker[role] for role in _shuffled(rng, list(weaker))[:2]}  # "not here" is not "nowhere"
    change = _pick(rng, [*["verb"] * 3, *["number"] * 3, *broken])
    told |= {change: broken[change]} if target else {}
    return " ".join(filter(None, premise.values())), " ".join(filter(None, told.values()))


_TASKS: dict[str, tuple[Callable[[random.Random, float], tuple[str, ...]], tuple[float, ...]]] = {
    "bundled:acceptability": (_acceptability, (1, 0)),
    "bundled:paraphrase": (_paraphrase, (1, 1, 0) * 6 + (1,)),  # 68 % positive, as in MRPC
    "bundled:entailment": (_entailment, (0, 1)),
    "bundled:similarity": (_similarity, tuple(half / 2 for half in range(11))),
}
NAMES = tuple(_TASKS)


def load(name: str) -> dict[str, pd.DataFrame]:
    """Generate one task: frames `train`, `validation`, `test` with columns text_a, text_b (pairs only), label.

    Labels: acceptability 1 = acceptable; paraphrase 1 = same meaning; entailment 0 = follows, 1 = does not;
    similarity 0 to 5 in half points. No example comes twice. Only `Random.random` is drawn from, the one stream
    that Python promises never to change.

    Raises:
        UsageError: `name` is not one of `NAMES`.

    Source: ours, in the roles of CoLA, MRPC, RTE and STS-B; not in the paper (book/deviations.md).
    """
    check_choice("task", name, NAMES)
    make, labels = _TASKS[name]
    rng, seen, frames = random.Random(NAMES.index(name)), set(), {}
    for split, size in SIZES.items():
        rows = []
        while len(rows) < size:
            label = labels[len(rows) % len(labels)]
            texts = make(rng, label)
            if texts not in seen and texts[0] not in texts[1:] and all(len(text.split()) in WORDS for text in texts):
                seen.add(texts)
                rows.append((*texts, label))
        frames[split] = pd.DataFrame(rows, columns=["text_a", "text_b"][: len(texts)] + ["label"])
    return frames
