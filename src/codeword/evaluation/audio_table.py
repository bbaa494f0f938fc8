"""What files of an audio model hold, as rows of text."""

from codeword.evaluation.audio_results import AudioEvaluation


def code_rows(evaluation: AudioEvaluation) -> list[list[str]]:
    """The share of frames that have each level, and how evenly it is used; only a title without such points."""
    rows = [["setting", *(f"level {number + 1}" for number in range(evaluation.levels))]]
    for point in evaluation.points:
        if point.depths is not None and point.usage is not None:
            reached = [sum(point.depths[level:]) for level in range(evaluation.levels)]
            cells = [f"{share:.0%} {even:.2f}" for share, even in zip(reached, point.usage, strict=True)]
            rows.append([point.setting, *cells])
    return rows
