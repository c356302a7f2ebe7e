INSERT INTO signal_profiles (model_id, cuts, counts)
VALUES (%s, %s, %s);
