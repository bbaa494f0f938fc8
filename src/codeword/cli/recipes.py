"""``codeword recipes``."""

from dataclasses import dataclass

from codeword.cli.common import print_table


@dataclass(frozen=True)
class Recipes:
    """Print the settings of pretraining, fine-tuning and probing at full size, beside those that were published."""

    def run(self) -> None:
        """Print."""
        from codeword.recipes.published import rows

        for run in dict.fromkeys(row.run for row in rows()):
            print_table([(run, "codeword", "paper (scripts)"), *(row[1:] for row in rows() if row.run == run)])
            print()
