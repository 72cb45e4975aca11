DROP TABLE upload_files, catalogue_identity;
