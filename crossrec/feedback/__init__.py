"""What people do with what they are shown: rewards, policies that learn from it, simulated users, and logs."""
