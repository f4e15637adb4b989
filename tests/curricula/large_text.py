"""Small text with all that preparing handles: copies, repeats, scripts, long files and lines."""

import random
from pathlib import Path

SCRIPTS = ("abcdefghij", "абвгдежзик", "中文字数据语言模型", "कखगघचछजझ", "0123456789_")
NOTICE = " ".join(f"notice{number}" for number in range(40))


def write_text(folder: Path) -> None:
    """Write three domains, the same on every machine."""
    draw = random.Random(0)
    texts: list[str] = []
    for number in range(150):
        letters = SCRIPTS[number % len(SCRIPTS)]
        text = "\n\n".join(_paragraph(draw, letters) for _ in range(draw.randrange(2, 9)))
        if number % 4 == 0:
            text = f"{NOTICE}\n\n{text}"
        if number % 9 == 0 and texts:
            text = draw.choice(texts)
        if number % 7 == 0 and texts:
            words = draw.choice(texts).split(" ")
            words[len(words) // 2] = "changed"
            text = " ".join(words)
        texts.append(text)
    for number, text in enumerate(texts):
        place = folder / ("one", "two", "three")[number % 3] / f"{number:03d}.txt"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(text.replace("\n", "\r\n" if number % 5 == 0 else "\n").encode())
    (folder / "one" / "long.txt").write_text("".join(f"{text}\n\n\n\n\n" for text in texts[:70]))
    (folder / "two" / "signs.md").write_text("-" * 300 + "\n\n" + "=" * 300 + "\n\n" + "-" * 300)
    (folder / "two" / "line.txt").write_text("a" * 9_000 + " " * 600 + "_" * 700 + "\n" + "é" * 500)
    lines = (f'{{"text": "line {n} of many {n % 7}", "source": "s{n % 5}"}}' for n in range(40))
    (folder / "three" / "lines.jsonl").write_text("\n".join([*lines, "{", ""]))


def _paragraph(draw: random.Random, letters: str) -> str:
    words = ("".join(draw.choices(letters, k=draw.randrange(1, 8))) for _ in range(60))
    return " ".join(f"{word}{draw.choice(['', ',', ' +', ' -', '.', chr(10)])}" for word in words)
