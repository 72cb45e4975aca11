"""Runs in the environment of the peers: STAC items of the files that a list names, by rio-stac in two processes.

python stac_items.py LIST ITEMS
"""

import sys
import warnings
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import orjson
from rio_stac import create_stac_item


def main() -> None:
    paths = Path(sys.argv[1]).read_text().splitlines()
    with ProcessPoolExecutor(2) as pool, Path(sys.argv[2]).open("wb") as items:
        items.writelines(pool.map(make_item, paths, chunksize=100))


def make_item(path: str) -> bytes:
    warnings.simplefilter("ignore")
    item = create_stac_item(
        path, id=Path(path).stem, collection="records", with_proj=True, collection_url="records"
    )
    return orjson.dumps({**item.to_dict(), "links": []}) + b"\n"


if __name__ == "__main__":
    main()
