"""YAML and JSON of others."""

import json

import pytest

from precise_lib.errors import InputError
from precise_lib.io import text


@pytest.mark.parametrize(
    ("written", "value"),
    [("1e-3", 0.001), ("2E5", 2e5), ("-1.5", -1.5), ("3", 3), (".5", 0.5), ("2024-05-01", "2024-05-01"), ("no", False),
     ("1e", "1e"), (".inf", float("inf"))],
)  # fmt: skip
def test_numbers_are_numbers(tmp_path, written, value):
    (tmp_path / "a.yaml").write_text(f"x: {written}\n")
    found = text.read_yaml(tmp_path / "a.yaml", "The file")["x"]
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    "content",
    ["&a [*a]", "&a {x: *a}", "a: [\n", "[" * 2000 + "]" * 2000, '"\\ud800"', "2: !!python/name:os.system", "\xff",
     "- &a [1,1,1,1,1,1,1,1,1,1]\n- &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\n- &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\n"
     "- &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\n- &e [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\n"],
)  # fmt: skip
def test_what_is_endless_or_no_text_is_refused(tmp_path, content):
    (tmp_path / "a.yaml").write_text(content, encoding="latin-1")
    with pytest.raises(InputError, match=r"The file .*a\.yaml is not readable as YAML: ") as problem:
        text.read_yaml(tmp_path / "a.yaml", "The file")
    assert "\n" not in str(problem.value)


def test_json(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps({"x": [1, 2]}))
    assert text.read_json(tmp_path / "a.json") == {"x": [1, 2]}
    (tmp_path / "a.json").write_text("[" * 100_000)
    with pytest.raises(ValueError, match="nested"):
        text.read_json(tmp_path / "a.json")
