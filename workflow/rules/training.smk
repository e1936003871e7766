# From preprocessed images to the weights of every stage.


rule pack:
    input:
        images=layout.images,
        summary=layout.cohort,
    output:
        packed=layout.packed,
        index=layout.packed_index,
    log:
        layout.log("pack"),
    benchmark:
        layout.benchmark("pack")
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=4000,
        runtime=240,
    params:
        results=results_folder,
    shell:
        "cohortreg pack {params.results} 2>&1 | tee {log}"


rule train:
    input:
        packed=rules.pack.output.packed,
        index=rules.pack.output.index,
        previous=previous_weights,
    output:
        weights=layout.weights("{model}", "{stage}"),
        card=layout.model_card("{model}", "{stage}"),
        history=layout.history("{model}", "{stage}"),
    log:
        layout.log("train", "{model}-{stage}"),
    benchmark:
        layout.benchmark("train", "{model}-{stage}")
    # Before registrations that do not wait for it: most of the run waits for training.
    priority: 1
    conda:
        ENVIRONMENT
    threads: config["threads"]["train"]
    resources:
        mem_mb=8000,
        runtime=2880,
    params:
        results=results_folder,
        settings=stage_settings,
        seed=config["seed"],
    shell:
        "cohortreg train {params.results} --model {wildcards.model} --stage {wildcards.stage}"
        " --settings {params.settings:q} --seed {params.seed} --threads {threads} 2>&1 | tee {log}"
