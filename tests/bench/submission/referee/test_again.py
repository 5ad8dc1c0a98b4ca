"""In which order a side is asked again."""

from hypothesis import given
from hypothesis import strategies as st

from bench.submission.referee.again import Question, _shuffled


@given(st.lists(st.integers(1, 5), min_size=1, max_size=5), st.integers(1, 4))
def test_no_round_begins_with_the_call_that_it_began_with(rounds: list[int], most: int) -> None:
    """Calls of round r, min(r, most) of them: all are asked, and none is the first of its round a second time."""
    questions = [
        Question(10 * place + call, place, "x")
        for place, calls in enumerate(rounds)
        for call in range(min(calls, most))
    ]
    order = _shuffled(questions)
    assert sorted(order) == questions
    for place in range(len(rounds)):
        mine = [one for one in order if one.round == place]
        assert len(mine) == 1 or mine[0].at != 10 * place
    assert len(order) == 1 or order[0] is not questions[0]
