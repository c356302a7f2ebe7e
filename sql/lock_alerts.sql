-- Whoever writes alerts, states or requests of one strategy does so alone until the transaction ends.
SELECT pg_advisory_xact_lock(hashtextextended('quant_mlops alerts ' || %(strategy_id)s, 0));
