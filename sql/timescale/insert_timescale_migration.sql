INSERT INTO timescale_migrations (number, name, sha256) VALUES (%s, %s, %s);
