"""The operator's tools: the local stack, the demonstration, the emulator of the Lambda runtime."""
