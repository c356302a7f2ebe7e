INSERT INTO feature_profiles (model_id, feature_name, feature_version, cuts, counts)
VALUES (%s, %s, %s, %s, %s);
