UPDATE model_deployments
SET live_range = tstzrange(
    lower(live_range), coalesce(%(live_from)s, transaction_timestamp()), '[)'
)
WHERE deployment_id = %(deployment_id)s;
