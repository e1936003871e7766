"""One pair of images, in memory: what `import cohortreg` offers, and the commands for two images and jobs call."""
