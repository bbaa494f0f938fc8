"""What is reported: functions, never losses."""
