import math

import pytest

from kbert.serving.json_reader import MAX_DEPTH, JsonError, parse


@pytest.mark.parametrize(
    ("document", "value"),
    [
        (b"null", None),
        (b" \n[true, false]", [True, False]),
        (b'{"a": {"b": []}, "a": 2}', {b"a": {b"b": []}}),
        (b'"\xff\xfe abc"', b"\xff\xfe abc"),
        (rb'"\u00e9\ud83d\ude00\n\/\"\u0000"', 'é😀\n/"\0'.encode()),
        (b"\xef\xbb\xbf[1] trailing", [1]),
        (b"-0", 0),
        (b"18446744073709551615", 2**64 - 1),
        (b"18446744073709551616", float(2**64)),
        (b"-9223372036854775808", -(2**63)),
        (b"-9223372036854775809", -float(2**63)),
        (b"1e5", 1e5),
        (b"-1.5E-3", -0.0015),
        (b"[-Infinity, Inf]", [-math.inf, math.inf]),
        (b"9" * 200, float("9" * 200)),
    ],
)
def test_reads(document, value):
    found = parse(document)
    assert found == value
    assert type(found) is type(value)


def test_reads_nan():
    assert math.isnan(parse(b"NaN"))


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (b"  ", "The document is empty. at offset: 2"),
        (b"hello", "Invalid value. at offset: 0"),
        (b"[nul]", "Invalid value. at offset: 4"),
        (b"[1,]", "Invalid value. at offset: 3"),
        (b"-x", "Invalid value. at offset: 1"),
        (b"[1 2]", "Missing a comma or ']' after an array element. at offset: 3"),
        (b"[01]", "Missing a comma or ']' after an array element. at offset: 2"),
        (b"[1", "Missing a comma or ']' after an array element. at offset: 2"),
        (b"{1}", "Missing a name for object member. at offset: 1"),
        (b'{"a" 1}', "Missing a colon after a name of object member. at offset: 5"),
        (b'{"a":1 "b"}', "Missing a comma or '}' after an object member. at offset: 7"),
        (b'"abc', "Missing a closing quotation mark in string. at offset: 4"),
        (b'"a\nb"', "Invalid encoding in string. at offset: 2"),
        (rb'"a\x"', "Invalid escape character in string. at offset: 2"),
        (rb'"\u12g4"', "Incorrect hex digit after \\u escape in string. at offset: 1"),
        (rb'["\ud800"]', "The surrogate pair in string is invalid. at offset: 2"),
        (rb'["\udc00"]', "The surrogate pair in string is invalid. at offset: 2"),
        (rb'["\ud800\u0041"]', "The surrogate pair in string is invalid. at offset: 2"),
        (b"1.", "Miss fraction part in number. at offset: 2"),
        (b"1e+", "Miss exponent in number. at offset: 3"),
        (b"[1e999]", "Number too big to be stored in double. at offset: 1"),
        (b"[" + b"9" * 5000 + b"]", "Number too big to be stored in double. at offset: 1"),
    ],
)
def test_names_the_error_and_its_offset(document, message):
    with pytest.raises(JsonError) as caught:
        parse(document)
    assert str(caught.value) == message


def test_deep_nesting_is_an_error_and_no_stack_overflow():
    assert parse(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)
    with pytest.raises(JsonError, match="nested deeper"):
        parse(b"[" * 100_000)
