-- SQLite: the triggers of the GeoPackage standard that update the spatial index when other programs change `files`.
CREATE TRIGGER rtree_files_geom_insert AFTER INSERT ON files
WHEN (new.geom NOTNULL AND NOT ST_IsEmpty(new.geom))
BEGIN
    INSERT OR REPLACE INTO rtree_files_geom VALUES (new.fid, ST_MinX(new.geom), ST_MaxX(new.geom), ST_MinY(new.geom), ST_MaxY(new.geom));
END;
CREATE TRIGGER rtree_files_geom_update6 AFTER UPDATE OF geom ON files
WHEN old.fid = new.fid AND (new.geom NOTNULL AND NOT ST_IsEmpty(new.geom)) AND (old.geom NOTNULL AND NOT ST_IsEmpty(old.geom))
BEGIN
    UPDATE rtree_files_geom SET minx = ST_MinX(new.geom), maxx = ST_MaxX(new.geom), miny = ST_MinY(new.geom), maxy = ST_MaxY(new.geom)
    WHERE id = new.fid;
END;
CREATE TRIGGER rtree_files_geom_update7 AFTER UPDATE OF geom ON files
WHEN old.fid = new.fid AND (new.geom NOTNULL AND NOT ST_IsEmpty(new.geom)) AND (old.geom ISNULL OR ST_IsEmpty(old.geom))
BEGIN
    INSERT INTO rtree_files_geom VALUES (new.fid, ST_MinX(new.geom), ST_MaxX(new.geom), ST_MinY(new.geom), ST_MaxY(new.geom));
END;
CREATE TRIGGER rtree_files_geom_update2 AFTER UPDATE OF geom ON files
WHEN old.fid = new.fid AND (new.geom ISNULL OR ST_IsEmpty(new.geom))
BEGIN
    DELETE FROM rtree_files_geom WHERE id = old.fid;
END;
CREATE TRIGGER rtree_files_geom_update5 AFTER UPDATE ON files
WHEN old.fid != new.fid AND (new.geom NOTNULL AND NOT ST_IsEmpty(new.geom))
BEGIN
    DELETE FROM rtree_files_geom WHERE id = old.fid;
    INSERT OR REPLACE INTO rtree_files_geom VALUES (new.fid, ST_MinX(new.geom), ST_MaxX(new.geom), ST_MinY(new.geom), ST_MaxY(new.geom));
END;
CREATE TRIGGER rtree_files_geom_update4 AFTER UPDATE ON files
WHEN old.fid != new.fid AND (new.geom ISNULL OR ST_IsEmpty(new.geom))
BEGIN
    DELETE FROM rtree_files_geom WHERE id IN (old.fid, new.fid);
END;
CREATE TRIGGER rtree_files_geom_delete AFTER DELETE ON files WHEN old.geom NOTNULL
BEGIN
    DELETE FROM rtree_files_geom WHERE id = old.fid;
END;
