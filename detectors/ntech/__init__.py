"""NTechLab: two EfficientNet-B7 on frames and one on sequences, third place of the Deepfake Detection Challenge."""
