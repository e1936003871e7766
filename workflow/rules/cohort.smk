# From raw images to preprocessed ones, and what is left of the cohort.


rule phantom:
    input:
        images=config["images"],
    output:
        PHANTOMS,
    log:
        layout.log("phantom"),
    benchmark:
        layout.benchmark("phantom")
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=more(2000),
        runtime=more(30),
    params:
        root=lambda wildcards: root,
        settings=json.dumps(config["phantom"]),
        seed=config["seed"],
    shell:
        "cohortreg phantom {input.images} {params.root} --settings {params.settings:q}"
        " --seed {params.seed} 2>&1 | tee {log}"


# Not part of all: asked for by its name, before a long run.
rule check:
    input:
        raw=PHANTOMS,
        images=ancient(config["images"]),
    output:
        layout.check.table,
        layout.check.sheets(len(images)),
    log:
        layout.log("check"),
    benchmark:
        layout.benchmark("check")
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=more(4000 + len(images) // 8),
        runtime=more(60 + len(images) // 4),
    params:
        folder=lambda wildcards: layout.check.root,
        root=lambda wildcards: config["root"],
        rows=checked_rows,
        settings=settings("preprocess", "structures"),
    shell:
        "cohortreg check {input.images} --root {params.root:q} --output {params.folder}"
        # Or Snakemake would delete the table that says which images are bad.
        " --settings {params.settings:q} --on-bad-image exclude 2>&1 | tee {log}"


rule preprocess:
    input:
        raw=phantom_files,
        # Its other rows do not matter, and params hold the shard's own.
        images=ancient(config["images"]),
    output:
        layout.image_shard("{shard}"),
    log:
        layout.log("preprocess", "{shard}"),
    benchmark:
        layout.benchmark("preprocess", "{shard}")
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=more(4000),
        runtime=more(240),
    params:
        results=results_folder,
        root=config["root"],
        rows=image_rows,
        settings=settings("preprocess", "structures"),
        shards=config["shards"]["images"],
        on_bad_image=config["on_bad_image"],
    shell:
        "cohortreg preprocess {params.results} --images {input.images} --root {params.root:q}"
        " --settings {params.settings:q} --shard {wildcards.shard} --shards {params.shards}"
        " --on-bad-image {params.on_bad_image} 2>&1 | tee {log}"


checkpoint cohort:
    input:
        images=config["images"],
        pairs=config["pairs"],
        ratings=config["ratings"] or [],
        shards=[layout.image_shard(shard) for shard in IMAGE_SHARDS],
    output:
        images=layout.images,
        # What is there says which pairs were asked for before.
        pairs=update(layout.pairs),
        excluded=layout.excluded,
        summary=layout.cohort,
        # One that did not change starts no registration: Snakemake compares the content of what a checkpoint wrote.
        # What is there says which pairs a shard had, and stays where it only lost some.
        shards=[update(layout.pair_shard(shard)) for shard in PAIR_SHARDS],
        # What is there says on what a model was trained, and is kept until retraining is asked for.
        training=[update(layout.model_training(model)) for model in MODELS],
    log:
        layout.log("cohort"),
    benchmark:
        layout.benchmark("cohort")
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=more(2000),
        runtime=more(30),
    params:
        results=results_folder,
        name=config["cohort"],
        settings=json.dumps(
            {key: config[key] for key in ("shards", "retrain", "exclude_rated")} | {"models": MODELS}
        ),
        ratings=f"--ratings {shlex.quote(config['ratings'])}" if config["ratings"] else "",
    shell:
        "cohortreg cohort {params.results} --name {params.name} --images {input.images}"
        " --pairs {input.pairs} {params.ratings} --settings {params.settings:q} 2>&1 | tee {log}"
