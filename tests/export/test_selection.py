"""The snapshot of an export."""

import time

from sqlalchemy import select, text

from pipeline.database.engine import open_engine
from pipeline.export.selection import Snapshot


def test_a_snapshot_outlives_the_limit_of_idle_transactions(database_url: str) -> None:
    mark = "&" if "?" in database_url else "?"
    limited = f"{database_url}{mark}options=-c%20idle_in_transaction_session_timeout%3D100"
    with open_engine(limited) as engine:
        with engine.connect() as connection:
            setting = connection.execute(text("SHOW idle_in_transaction_session_timeout"))
            assert setting.scalar_one() == "100ms"
        with Snapshot(engine).open() as snapshot:
            time.sleep(0.3)
            assert [tuple(row) for row in snapshot.rows(select(text("1")))] == [(1,)]
