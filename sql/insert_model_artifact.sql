INSERT INTO model_artifacts (
    artifact_id, model_id, artifact_path, artifact_type, checksum, size_bytes
)
VALUES (%s, %s, %s, %s, %s, %s);
