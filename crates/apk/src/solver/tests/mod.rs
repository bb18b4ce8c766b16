mod apk_cases;
