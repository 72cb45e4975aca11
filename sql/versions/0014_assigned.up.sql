-- Uploads: what the client says for a file that has no CRS or no nodata, kept so that each reading is the same.

ALTER TABLE uploads
    ADD COLUMN crs text CONSTRAINT uploads_crs CHECK (crs ~ '^[A-Z][A-Z0-9_.]*:[A-Z0-9_.-]+$'),
    ADD COLUMN nodata text CONSTRAINT uploads_nodata
        CHECK (nodata ~ '^(-?([0-9]+([.][0-9]*)?|[.][0-9]+)(e[+-]?[0-9]+)?|-?inf|nan)$');
COMMENT ON COLUMN uploads.crs IS 'CRS that the client gave for a file without one, as AUTHORITY:CODE; null: none.';
COMMENT ON COLUMN uploads.nodata IS 'Nodata value that the client gave for a file without one: a number, inf, -inf or nan; null: none.';
