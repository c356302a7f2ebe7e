-- As the statement of the same name beside this folder, from the continuous aggregate.
SELECT feature_name, feature_version, day, events, missing, mean, std, minimum, maximum
FROM daily_feature_statistics
WHERE feature_name = ANY (%(names)s)
  AND day >= %(first)s
  AND day < %(end)s
ORDER BY feature_name, feature_version, day;
