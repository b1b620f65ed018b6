"""Write the data card into `results/`.

Usage: `print(write_card(card, results_dir()))`.
"""

from __future__ import annotations

from pathlib import Path

from spurious_rewards.data.card import DataCard
from spurious_rewards.storage.files import write_text


def write_card(card: DataCard, results: Path) -> str:
    """Write data_card.md and one CSV per table if every source was available; returns a sentence on what was done."""
    missing = card.tables["sources"].query("status != 'available'")["name"].tolist()
    if missing:
        return f"The data card was not written: {', '.join(missing)} not available on this machine."
    write_text(results / "data_card.md", card.markdown())
    for name, table in card.tables.items():
        write_text(results / "tables" / "data" / f"{name}.csv", table.to_csv(index=False))
    return "The data card was written to results/data_card.md and results/tables/data."
