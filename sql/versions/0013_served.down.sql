DROP TABLE served_configs;
