"""What a server refuses is one line for the user, whoever the server is."""

from __future__ import annotations

import pytest

from gradstream.shell.client import RefusedStatementError


@pytest.mark.parametrize(
    ("message", "line", "told"),
    [
        (
            "line 2:5: line 2:5: Syntax Error\nExpecting 'FROM'\nStatement: SELECT A\nFRM S;\nFRM S;\n    ^",
            "SYNTAX_ERROR: line 2:5: Syntax Error; Expecting 'FROM'",
            "FRM S;\n    ^",
        ),
        (
            "line 1:3: Syntax Error\n\nStatement: SELECT\nFRM S;",
            "SYNTAX_ERROR: line 1:3: Syntax Error; what is underlined does not fit here; check the word before it, too",
            "",
        ),
        (
            "line 1:8: Function 'mask' does not accept parameters (DOUBLE).\nValid alternatives are:\nmask(VARCHAR)",
            "SYNTAX_ERROR: line 1:8: Function 'mask' does not accept parameters (DOUBLE); Valid alternatives are: mask(VARCHAR)",
            "",
        ),
        ("S does not exist.", "SYNTAX_ERROR: S does not exist.", ""),
        ("", "SYNTAX_ERROR: ", ""),
    ],
)
def test_a_refusal_is_one_line_with_what_was_told(message: str, line: str, told: str) -> None:
    error = RefusedStatementError({"message": message}, "SYNTAX_ERROR")
    assert str(error) == line
    assert error.excerpt == told
