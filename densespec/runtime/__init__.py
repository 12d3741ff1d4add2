"""What long work needs: resumable scratch, fingerprints, seeds, progress."""
