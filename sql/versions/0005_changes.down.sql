DROP TRIGGER raster_sources_truncated ON raster_sources;
DROP TRIGGER raster_sources_deleted ON raster_sources;
DROP TRIGGER raster_sources_updated ON raster_sources;
DROP TRIGGER raster_sources_created ON raster_sources;
DROP TABLE changes, commits;
DROP FUNCTION number_commits, finish_commit, note_changes, this_commit;
