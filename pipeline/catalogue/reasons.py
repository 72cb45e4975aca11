"""Every reason code and warning, with what it means and what to do about it: one table for pages, commands and docs.

`make docs` writes the tables of docs/reason-codes.md and docs/warnings.md from it.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Explanation:
    """What a code means, and what to do about it; code stands between backticks."""

    meaning: str
    advice: str
    needs_check: bool = False
    """Whether a person has to look at the file of a warning, since its place, nodata or time may be wrong."""


REASONS = {
    "not_found": Explanation(
        "the file does not exist, or not any more, or a link is broken",
        "check the name, correct the link, or run again",
    ),
    "permission_denied": Explanation(
        "this user may not read the file or list the folder, or these credentials may not get the object",
        "change the permissions; check the credentials",
    ),
    "not_a_file": Explanation(
        "the name, or that of a sidecar, is a pipe, socket or device",
        "name a file",
    ),
    "not_allowed": Explanation(
        "the file, the target of a link, or a sidecar lies outside the folders, buckets and web servers that may be "
        "read; or the server of a file redirects to another place",
        "allow the folder or the server in `RASTERSOURCES_ROOTS`, or move the file",
    ),
    "empty_file": Explanation(
        "the file has no bytes",
        "copy or download it again",
    ),
    "not_a_geotiff": Explanation(
        "the content does not begin as a TIFF file does, whatever its name: a VRT, a PNG, an error page",
        "convert it: `gdal_translate -of GTiff`",
    ),
    "unreadable": Explanation(
        "the header contradicts itself or lacks the lengths of the pixel blocks, GDAL cannot open it, or"
        " reading it ended the process twice",
        "write it again: `gdal_translate IN OUT`",
    ),
    "truncated": Explanation(
        "the header names bytes beyond the end of the file: a tile, a strip, a further image, or a tag "
        "that something depends on",
        "copy or download it again",
    ),
    "over_budget": Explanation(
        "its header, one tag, its bands, images or pixels exceed a limit",
        "raise the limit if the file is right",
    ),
    "timeout": Explanation(
        "reading its header took longer than the time limit",
        "check the disk; raise the limit",
    ),
    "unreachable": Explanation(
        "the web server of the file does not answer in time, answers with an error, or refuses the request",
        "run again later; check the URL",
    ),
    "unsuitable_server": Explanation(
        "the web server of the file sends no ranges of bytes, or neither ETag nor Last-Modified",
        "copy the file to a folder, a bucket or another server",
    ),
    "not_stac": Explanation(
        "a document of a STAC catalogue is not JSON, not STAC, or too large; or the URL of an asset cannot be used",
        "ask those who publish the catalogue; import what it links to by itself",
    ),
    "changing": Explanation(
        "it changed since it was listed: it grew, another object has its key, or a sidecar changed",
        "run again when it is complete",
    ),
    "multiple_images": Explanation(
        "it holds several rasters (pages); overviews and masks do not count",
        "split it: `gdal_translate GTIFF_DIR:2:IN OUT`",
    ),
    "unsupported_dtype": Explanation(
        "numpy has no type for its pixels (complex integers), or its bands differ in type",
        "convert it: `gdal_translate -ot Float32` (`-ot CFloat32` for complex)",
    ),
    "missing_crs": Explanation(
        "no CRS in the file or its sidecars",
        "assign one in the definition, by `--crs` or with the upload; or set it: `gdal_edit.py -a_srs "
        "EPSG:CODE FILE`",
    ),
    "unsupported_crs": Explanation(
        "there is a CRS, but it is not tied to the earth (engineering, geocentric, another planet), is "
        "not understood, or PROJ cannot compute with it",
        "find out the right one and set it: `gdal_edit.py -a_srs EPSG:CODE FILE`; or override it with "
        "`crs` and `crs_override`",
    ),
    "no_grid": Explanation(
        "no geotransform (or only the identity), too few control points, or only RPCs",
        "`gdal_edit.py -a_ullr`, or orthorectify with `gdalwarp`",
    ),
    "gcp_residual": Explanation(
        "no straight grid fits its control points within the limit",
        "warp it: `gdalwarp -tps`",
    ),
    "outside_crs_domain": Explanation(
        "its coordinates have no place on earth in its CRS: they are not finite, or do not survive the "
        "way to longitude and latitude and back",
        "check the CRS and the coordinates",
    ),
    "projection_mismatch": Explanation(
        "its projection is not that of its raster source",
        "warp it, or give it a source of its own",
    ),
    "pixelsize_mismatch": Explanation(
        "its pixel size is not that of its source",
        "resample it, or give it a source of its own",
    ),
    "dtype_mismatch": Explanation(
        "its dtype is not that of its source",
        "convert it, or give it a source of its own",
    ),
    "missing_time": Explanation(
        "its source is temporal and the file has no time; or the time in the name of a dropped file is not valid",
        'give a pattern for the file name, a time, or `time = "tag"`; rename a dropped file',
    ),
    "unmatched": Explanation(
        "the path does not match the pattern that groups; the name of a dropped file names no raster "
        "source, or several; or the path is longer than 2,500 bytes, percent-encoded (the list shows its"
        " beginning)",
        "correct the pattern; shorten the path; name a dropped file by the uuid or supplier_code",
    ),
    "not_the_supplier": Explanation(
        "a dropped file for a source of another supplier",
        "ask the supplier or an administrator",
    ),
    "over_quota": Explanation(
        "the organisation's storage is full",
        "delete data, or ask for more",
    ),
}
"""Why files are rejected."""
WARNINGS = {
    "transform_ignored": Explanation(
        "a tag, a world file or the file's own tags would place it elsewhere",
        "remove the wrong one",
        needs_check=True,
    ),
    "tie_points_disagree": Explanation(
        "tie points do not lie on the grid",
        "write the right grid: `gdal_edit.py -a_ullr`",
        needs_check=True,
    ),
    "crs_ignored": Explanation(
        "the keys name another CRS than the `.aux.xml`",
        "remove the wrong one",
        needs_check=True,
    ),
    "crs_keys_ignored": Explanation(
        "the keys give the CRS other parameters than its code has",
        "assign the right CRS",
        needs_check=True,
    ),
    "nodata_ignored": Explanation(
        "the tag has another nodata than the `.aux.xml`",
        "remove the wrong one",
    ),
    "area_or_point_ignored": Explanation(
        "`.aux.xml` or GDAL_METADATA contradict the keys on Area or Point",
        "remove it",
    ),
    "metadata_unreadable": Explanation(
        "GDAL_METADATA is not the XML that GDAL writes; a time in it is lost",
        "write it again",
    ),
    "rotated_grid": Explanation(
        "the grid is rotated or sheared",
        "nothing; warp it if a reader cannot handle it",
    ),
    "fitted_to_control_points": Explanation(
        "the grid was fitted; the residual is in the message",
        "warp the file for an exact grid",
    ),
    "control_points_ignored": Explanation(
        "the file or its `.aux.xml` has control points that were not used",
        "remove them, or the grid that was used",
    ),
    "crs_differs_from_code": Explanation(
        "the parameters are not those of the code that the file names",
        "assign the right CRS",
        needs_check=True,
    ),
    "unknown_datum": Explanation(
        "no operation to WGS 84 is known here",
        "assign a CRS with a datum if it is known",
        needs_check=True,
    ),
    "outside_area_of_use": Explanation(
        "the middle of the raster lies outside the CRS's area of use",
        "check the CRS and the coordinates: degrees in a CRS that counts metres, such as RD, end up far away",
        needs_check=True,
    ),
    "latitude_clamped": Explanation(
        "the grid reaches past a pole",
        "nothing",
    ),
    "partly_off_earth": Explanation(
        "some pixels do not show the earth",
        "nothing",
    ),
    "impossible_time": Explanation(
        "there is no such date, hour or day of the year; it is outside the years 1 to 9999; or the "
        "clocks of the zone skip it",
        "correct the name, the tag or the pattern",
        needs_check=True,
    ),
    "ambiguous_time": Explanation(
        "the pattern finds several times, the clocks of the zone show it twice, or several dimensions of"
        " netCDF are times",
        "make the pattern or the tags tell one time",
    ),
    "unreadable_time": Explanation(
        "a tag, group, number or unit that should be a time is not",
        "correct the tag; or give a pattern, or a time",
        needs_check=True,
    ),
    "unmatched_pattern": Explanation(
        "the pattern finds no time in the name",
        "correct the pattern or the name",
    ),
    "band_times_incomplete": Explanation(
        "some bands have a time and others do not",
        "give all bands a time, or none",
    ),
    "no_civil_time": Explanation(
        "the times are in a calendar with other days than civil time; the message names it",
        "give a pattern, or a time",
    ),
    "calendar_converted": Explanation(
        "the times are dates of the Julian calendar; they are shown in the Gregorian one",
        "nothing",
    ),
    "crs_assigned": Explanation(
        "the file has no CRS and got this one",
        "nothing; set the CRS in the file to end the warning: `gdal_edit.py -a_srs EPSG:CODE FILE`",
    ),
    "crs_overridden": Explanation(
        "the CRS of the file, usable or not, was replaced (`crs_override`)",
        "nothing; set the CRS in the file to end the warning: `gdal_edit.py -a_srs EPSG:CODE FILE`",
    ),
    "crs_kept": Explanation(
        "the file has another CRS, and keeps it",
        "check which of the two is right; `crs_override` replaces that of the file",
        needs_check=True,
    ),
    "nodata_assigned": Explanation(
        "the file has no nodata and got this one",
        "nothing",
    ),
    "nodata_kept": Explanation(
        "the file has another nodata, and keeps it",
        "check which of the two is right",
    ),
    "nodata_not_assigned": Explanation(
        "no pixel of the file's type can have this nodata",
        "assign a nodata that the type can hold",
    ),
    "bit_depth": Explanation(
        "its pixels have an odd number of bits, and are read into the next wider type",
        "nothing",
    ),
    "nodata_differs": Explanation(
        "its bands have different nodata values",
        "nothing; give all bands one value if a reader cannot handle it",
    ),
    "nodata_unreadable": Explanation(
        "its nodata is not a number",
        "set it: `gdal_edit.py -a_nodata VALUE FILE`",
        needs_check=True,
    ),
    "nodata_decimal_comma": Explanation(
        "its nodata has a decimal comma",
        "set it: `gdal_edit.py -a_nodata VALUE FILE`",
    ),
    "nodata_out_of_range": Explanation(
        "no pixel of its type can have its nodata",
        "set it: `gdal_edit.py -a_nodata VALUE FILE`",
        needs_check=True,
    ),
    "mask": Explanation(
        "a mask or an alpha band, not nodata, marks missing pixels",
        "nothing",
    ),
    "sidecar_transform": Explanation(
        "its place comes from a sidecar",
        "keep the sidecar beside the file",
    ),
    "sidecar_projection": Explanation(
        "its CRS comes from a sidecar",
        "keep the sidecar beside the file",
    ),
    "sidecar_fill_value": Explanation(
        "its nodata comes from a sidecar",
        "keep the sidecar beside the file",
    ),
    "sidecar_unreadable": Explanation(
        "a sidecar is broken, and is not read",
        "remove it or write it again",
    ),
    "broken_overviews": Explanation(
        "its overviews are broken",
        "build them again: `gdaladdo`",
        needs_check=True,
    ),
    "overviews_elsewhere": Explanation(
        "its metadata name another file for the overviews, which is not opened",
        "build its overviews: `gdaladdo`",
    ),
    "tag_beyond_end": Explanation(
        "a tag beyond the end of the file is left out; all pixels are there",
        "copy or download it again",
        needs_check=True,
    ),
    "gdal_warning": Explanation(
        "GDAL reads it with a warning",
        "read the message",
    ),
    "undecodable_descriptions": Explanation(
        "descriptions of bands are not UTF-8, and are left out",
        "nothing",
    ),
    "interval_contradicted": Explanation(
        "the times between the files are not multiples of the declared interval",
        "correct the interval, or look for missing files: `rastersources sources gaps`",
    ),
    "no_statistics": Explanation(
        "its statistics would cost too much",
        "raise the limit, or build overviews",
    ),
}
"""What is doubtful about files that are registered."""


def explain(code: str) -> Explanation:
    """Return the explanation of a reason code or warning; an empty one for a code of an earlier release."""
    return REASONS.get(code) or WARNINGS.get(code) or Explanation("", "")
