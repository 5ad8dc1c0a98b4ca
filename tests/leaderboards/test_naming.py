"""Where names stand in a picture."""

from leaderboards.naming import DOT, PLOT, PLOT_MARGINS, _box, _line, _overlaps, place_names


def test_no_name_in_the_plot_covers_another():
    points = {f"defense_{index}": (PLOT_MARGINS[0], 300.0 + index) for index in range(12)}
    points |= {f"other_{index}": (PLOT[0] - 16.0, 200.0) for index in range(6)}
    places = place_names(points)
    boxes = [_box(row, *place) for row, place in places.items()]
    for index, box in enumerate(boxes):
        assert not _overlaps(box, boxes[:index])
        assert box[0] >= 0
        assert box[2] <= PLOT[0]


def test_no_name_covers_another_where_all_rules_leak_everything():
    points = {f"some_rule_{index}": (PLOT[0] - 16.0, 60.0 + 9 * index) for index in range(33)}
    boxes = [_box(row, *place) for row, place in place_names(points).items()]
    assert not any(_overlaps(box, boxes[:index]) for index, box in enumerate(boxes))
    assert all(box[0] >= PLOT_MARGINS[0] for box in boxes)


def test_no_name_covers_a_line_to_another_or_a_point_of_others():
    points = {"one": (52.0, 200.0), "two": (60.0, 200.0), "three": (52.0, 204.0)}
    others = [(64.0 + 8 * step, 190.0) for step in range(6)]
    places = place_names(points, others)
    for row, place in places.items():
        box = _box(row, *place)
        assert not any(_overlaps((x - DOT, y - DOT, x + DOT, y + DOT), [box]) for x, y in others)
        lines = [dot for other in points if other != row for dot in _line(*points[other], *places[other][:2])]
        assert not any(_overlaps(dot, [box]) for dot in lines)
