INSERT INTO model_reproductions (
    model_id, identical, parts, code_version, code_dirty, library_versions
)
VALUES (
    %(model_id)s, %(identical)s, %(parts)s, %(code_version)s, %(code_dirty)s, %(library_versions)s
)
RETURNING recorded_at;
