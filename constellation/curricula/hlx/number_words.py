"""English words for the integers from -999 to 999, such as "minus one hundred"."""

from functools import cache

WORDS_MAX = 999
"""Largest absolute value that is written in words."""
_SMALL = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
    *("ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen"),
    *("seventeen", "eighteen", "nineteen"),
)
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")


def words(number: int) -> str:
    """Return the words of an integer from -999 to 999."""
    if number < 0:
        return f"minus {words(-number)}"
    if number < 20:
        return _SMALL[number]
    if number < 100:
        tens, rest = _TENS[number // 10 - 2], number % 10
        return f"{tens}-{_SMALL[rest]}" if rest else tens
    hundreds, rest = f"{_SMALL[number // 100]} hundred", number % 100
    return f"{hundreds} and {words(rest)}" if rest else hundreds


@cache
def number_of_words() -> dict[str, int]:
    """Return words -> integer, for all integers from -999 to 999."""
    return {words(number): number for number in range(-WORDS_MAX, WORDS_MAX + 1)}
