SELECT parts, code_version, code_dirty, library_versions, recorded_at
FROM model_reproductions
WHERE model_id = %s
ORDER BY recorded_at DESC, reproduction_id DESC
LIMIT 1;
