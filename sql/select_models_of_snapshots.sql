SELECT snapshot_id, name, version
FROM models
WHERE snapshot_id = ANY (%s::uuid[])
ORDER BY name, version;
