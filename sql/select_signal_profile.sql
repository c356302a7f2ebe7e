SELECT cuts, counts FROM signal_profiles WHERE model_id = %s;
