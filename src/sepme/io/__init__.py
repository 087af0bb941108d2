"""Values on disk: shift files, ledger directories, histories, fingerprints and exports."""
