"""The meaning of every reason code and warning, and the advice for users; used by pages, commands and docs.

`make docs` writes the tables of docs/reason-codes.md and docs/warnings.md from this module.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Explanation:
    """The meaning of a code, and what to do; commands and names in the code are between backticks."""

    meaning: str
    advice: str
    needs_check: bool = False
    """Whether a person must check the file, because its place, nodata or time may be wrong."""


REASONS = {
    "not_found": Explanation(
        "the file does not exist, was deleted, or is a broken link",
        "check the name, correct the link, or run again",
    ),
    "permission_denied": Explanation(
        "the user may not read the file or list the folder, or the credentials do not allow reading the object",
        "change the permissions; check the credentials",
    ),
    "not_a_file": Explanation(
        "the file or one of its sidecars is a pipe, socket or device",
        "give the path of a regular file",
    ),
    "not_allowed": Explanation(
        "the file, the target of a link, or a sidecar lies outside the folders, buckets and web servers that may be "
        "read; or the web server redirects to another address",
        "allow the folder or the server in `RASTERSOURCES_ROOTS`, or move the file",
    ),
    "empty_file": Explanation(
        "the file has no bytes",
        "copy or download it again",
    ),
    "not_a_geotiff": Explanation(
        "the content is not a TIFF file, whatever its name: for example a VRT, a PNG or an error page",
        "convert it: `gdal_translate -of GTiff`",
    ),
    "unreadable": Explanation(
        "the header contradicts itself or lacks the lengths of the pixel blocks, GDAL cannot open it, or"
        " reading it crashed the process twice",
        "write it again: `gdal_translate IN OUT`",
    ),
    "truncated": Explanation(
        "the header points to bytes beyond the end of the file: a tile, a strip, another image, or a tag "
        "that is needed",
        "copy or download it again",
    ),
    "over_budget": Explanation(
        "its header, a tag, its bands, images or pixels exceed a limit",
        "raise the limit that the message names if the file is valid",
    ),
    "timeout": Explanation(
        "reading its header took longer than the time limit",
        "check the disk, or raise `RASTERSOURCES_FILE_SECONDS`",
    ),
    "unreachable": Explanation(
        "the web server of the file does not answer in time, answers with an error, or refuses the request",
        "run again later; check the URL",
    ),
    "unsuitable_server": Explanation(
        "the web server of the file does not support byte ranges, or sends neither ETag nor Last-Modified",
        "copy the file to a folder, a bucket or another server",
    ),
    "not_stac": Explanation(
        "a document of a STAC catalogue is not JSON, not STAC, or too large; or the URL of an asset cannot be used",
        "ask the publisher of the catalogue, or import the linked documents separately",
    ),
    "changing": Explanation(
        "it changed after it was listed: it grew, its object was replaced, or a sidecar changed",
        "run again when the file is complete",
    ),
    "multiple_images": Explanation(
        "it contains several rasters (pages); overviews and masks do not count",
        "split it: `gdal_translate GTIFF_DIR:2:IN OUT`",
    ),
    "unsupported_dtype": Explanation(
        "numpy has no type for its pixels (complex integers), or its bands have different types",
        "convert it: `gdal_translate -ot Float32` (`-ot CFloat32` for complex)",
    ),
    "missing_crs": Explanation(
        "the file and its sidecars have no CRS",
        "assign one in the definition, by `--crs` or with the upload; or set it: `gdal_edit.py -a_srs "
        "EPSG:CODE FILE`",
    ),
    "unsupported_crs": Explanation(
        "its CRS is not supported: it is engineering, geocentric or of another planet, it cannot be "
        "parsed, or PROJ cannot compute with it",
        "find out the right CRS and set it: `gdal_edit.py -a_srs EPSG:CODE FILE`; or override it with "
        "`crs` and `crs_override`",
    ),
    "no_grid": Explanation(
        "it has no geotransform (or only the identity), too few control points, or only RPCs",
        "set its bounds with `gdal_edit.py -a_ullr`, or orthorectify it with `gdalwarp`",
    ),
    "gcp_residual": Explanation(
        "no affine grid fits its control points within the limit",
        "warp it: `gdalwarp -tps`",
    ),
    "outside_crs_domain": Explanation(
        "its coordinates have no place on earth in its CRS: they are not finite, or a transformation to "
        "longitude and latitude and back gives other coordinates",
        "check the CRS and the coordinates",
    ),
    "projection_mismatch": Explanation(
        "its projection differs from that of its raster source",
        "warp it, or register it in another source",
    ),
    "pixelsize_mismatch": Explanation(
        "its pixel size differs from that of its source",
        "resample it, or register it in another source",
    ),
    "dtype_mismatch": Explanation(
        "its dtype differs from that of its source",
        "convert it, or register it in another source",
    ),
    "missing_time": Explanation(
        "its source is temporal and the file has no time; or the time in the name of a dropped file is not valid",
        'give a pattern for the file name, a time, or `time = "tag"`; rename a dropped file',
    ),
    "unmatched": Explanation(
        "the path does not match the grouping pattern; the name of a dropped file matches no raster "
        "source, or several; or the percent-encoded path is longer than 2,500 bytes (the list shows its"
        " beginning)",
        "correct the pattern; shorten the path; put the uuid or supplier_code in the name of a dropped file",
    ),
    "not_the_supplier": Explanation(
        "a dropped file belongs to a source of another supplier",
        "ask the supplier or an administrator",
    ),
    "over_quota": Explanation(
        "the organisation's storage is full",
        "delete data, or ask for a larger quota",
    ),
}
"""Why files are rejected."""
WARNINGS = {
    "transform_ignored": Explanation(
        "another tag, a world file or an `.aux.xml` would place it elsewhere",
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
        "the parameters of the CRS in the keys differ from those of its code",
        "assign the right CRS",
        needs_check=True,
    ),
    "nodata_ignored": Explanation(
        "the tag has another nodata value than the `.aux.xml`",
        "remove the wrong one",
    ),
    "area_or_point_ignored": Explanation(
        "`.aux.xml` or GDAL_METADATA contradict the key for Area or Point",
        "remove it",
    ),
    "metadata_unreadable": Explanation(
        "GDAL_METADATA is not the XML that GDAL writes; a time in it is ignored",
        "write it again",
    ),
    "rotated_grid": Explanation(
        "the grid is rotated or sheared",
        "nothing; warp it if other software cannot read it",
    ),
    "fitted_to_control_points": Explanation(
        "the grid was fitted to control points; the message has the residual",
        "warp the file for an exact grid",
    ),
    "control_points_ignored": Explanation(
        "the file or its `.aux.xml` has control points that were not used",
        "remove the control points, or the grid that was used",
    ),
    "crs_differs_from_code": Explanation(
        "the parameters of the CRS are not those of the code that the file names",
        "assign the right CRS",
        needs_check=True,
    ),
    "unknown_datum": Explanation(
        "PROJ has no operation from its CRS to WGS 84",
        "assign a CRS with a datum if you know it",
        needs_check=True,
    ),
    "outside_area_of_use": Explanation(
        "the middle of the raster lies outside the CRS's area of use",
        "check the CRS and the coordinates: degrees in a CRS in metres, such as RD, lead to a place far away",
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
        "the date, hour or day of the year does not exist; the year is outside 1 to 9999; or the "
        "clocks of the time zone skip the time",
        "correct the name, the tag or the pattern",
        needs_check=True,
    ),
    "ambiguous_time": Explanation(
        "the pattern finds several times, the clocks of the time zone show the time twice, or several "
        "netCDF dimensions are times",
        "change the pattern or the tags so that they give a single time",
    ),
    "unreadable_time": Explanation(
        "a tag, group, number or unit that should be a time is not one",
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
        "the times are in a calendar whose days differ from civil time; the message names it",
        "give a pattern, or a time",
    ),
    "calendar_converted": Explanation(
        "the times are dates of the Julian calendar; they were converted to the Gregorian one",
        "nothing",
    ),
    "crs_assigned": Explanation(
        "the file has no CRS, and the assigned one was used",
        "nothing; set the CRS in the file to end the warning: `gdal_edit.py -a_srs EPSG:CODE FILE`",
    ),
    "crs_overridden": Explanation(
        "the CRS of the file was replaced by the assigned one (`crs_override`)",
        "nothing; set the CRS in the file to end the warning: `gdal_edit.py -a_srs EPSG:CODE FILE`",
    ),
    "crs_kept": Explanation(
        "the file has another CRS than the assigned one, and keeps it",
        "check which of the two is right; `crs_override` replaces the CRS of the file",
        needs_check=True,
    ),
    "nodata_assigned": Explanation(
        "the file has no nodata value, and the assigned one was used",
        "nothing",
    ),
    "nodata_kept": Explanation(
        "the file has another nodata value than the assigned one, and keeps it",
        "check which of the two is right",
    ),
    "nodata_not_assigned": Explanation(
        "pixels of the file's type cannot have the assigned nodata value",
        "assign a nodata value that the type can hold",
    ),
    "bit_depth": Explanation(
        "its pixels have an unusual number of bits, and are read as the next wider type",
        "nothing",
    ),
    "nodata_differs": Explanation(
        "its bands have different nodata values",
        "nothing; give all bands one value if other software cannot read it",
    ),
    "nodata_unreadable": Explanation(
        "its nodata value is not a number",
        "set it: `gdal_edit.py -a_nodata VALUE FILE`",
        needs_check=True,
    ),
    "nodata_decimal_comma": Explanation(
        "its nodata value has a decimal comma",
        "set it: `gdal_edit.py -a_nodata VALUE FILE`",
    ),
    "nodata_out_of_range": Explanation(
        "pixels of its type cannot have its nodata value",
        "set it: `gdal_edit.py -a_nodata VALUE FILE`",
        needs_check=True,
    ),
    "mask": Explanation(
        "a mask or an alpha band marks missing pixels, instead of a nodata value",
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
        "its nodata value comes from a sidecar",
        "keep the sidecar beside the file",
    ),
    "sidecar_unreadable": Explanation(
        "a sidecar is broken and was ignored",
        "remove it or write it again",
    ),
    "broken_overviews": Explanation(
        "its overviews are broken",
        "build them again: `gdaladdo`",
        needs_check=True,
    ),
    "overviews_elsewhere": Explanation(
        "its metadata name another file for the overviews; that file is not opened",
        "build its overviews: `gdaladdo`",
    ),
    "tag_beyond_end": Explanation(
        "a tag beyond the end of the file was ignored; all pixels are present",
        "copy or download it again",
        needs_check=True,
    ),
    "gdal_warning": Explanation(
        "GDAL warned when it read the file",
        "read the message",
    ),
    "undecodable_descriptions": Explanation(
        "descriptions of bands are not UTF-8 and were ignored",
        "nothing",
    ),
    "interval_contradicted": Explanation(
        "the times between the files are not multiples of the declared interval",
        "correct the interval, or look for missing files: `rastersources sources gaps`",
    ),
    "no_statistics": Explanation(
        "computing its statistics would take too long",
        "raise the limit, or build overviews",
    ),
}
"""Doubtful facts about registered files."""


def explain(code: str) -> Explanation:
    """Return the explanation of a reason code or warning; an empty one for a code of an earlier release."""
    return REASONS.get(code) or WARNINGS.get(code) or Explanation("", "")
