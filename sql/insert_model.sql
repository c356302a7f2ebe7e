INSERT INTO models (
    model_id, name, version, strategy_type, params, description, snapshot_id
)
VALUES (%s, %s, %s, %s, %s, %s, %s);
