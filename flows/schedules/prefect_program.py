"""Prefect's server as a program: `python -m flows.schedules.prefect_program server start`."""

import sys

from pipeline.cli.shutdown import exit_when_input_closes

END_WITH_INPUT = "--end-with-input"
"""An option of ours: it never outlives who started it, however that ends."""


def main() -> None:
    """Run the command line of Prefect, whose first argument is `server`."""
    if END_WITH_INPUT in sys.argv:
        sys.argv.remove(END_WITH_INPUT)
        exit_when_input_closes()
    let_the_scheduler_insert()
    from prefect.cli import app

    app()


def let_the_scheduler_insert() -> None:
    """Have scheduled runs inserted with SQLAlchemy 2.1.

    Prefect 3.8 inserts runs from dictionaries that hold their `state` too, which SQLAlchemy 2.0 passes over since it
    is no column. 2.1 refuses a hybrid property that does not say what to do with it in bulk: nothing.
    """
    from prefect.server.database.orm_models import FlowRun, TaskRun

    for model in (FlowRun, TaskRun):
        state = vars(model)["state"]
        if state.bulk_dml_setter is None:
            state.inplace.bulk_dml(lambda _cls, _values, _state: None)


if __name__ == "__main__":
    main()
