"""What can be built: components, one folder a provider; and the installation document."""
